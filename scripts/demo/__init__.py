"""The demo: the chat example on asyncio and on ferrio, with every answer checked."""
