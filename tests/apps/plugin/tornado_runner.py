"""A pytest plugin: what ``python -m tornado.test`` sets up before it runs tornado's tests."""

import logging

# Tests that say that nothing is logged do not mean every request.
logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
