"""A small chat service: rooms, a streamed assistant, and a record of what was said."""
