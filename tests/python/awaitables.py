"""Things to await, for the tests of what awaits several."""

import asyncio


async def returns(value, turns=0):
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


async def raises(exception, turns=0):
    for _ in range(turns):
        await asyncio.sleep(0)
    raise exception


class Foreign:
    """A future that is nobody's subclass."""

    _asyncio_future_blocking = False
    _cancel_message = None

    def __init__(self, loop):
        self._loop = loop
        self._future = asyncio.futures._PyFuture(loop=loop)

    def get_loop(self):
        return self._loop

    def add_done_callback(self, function, *, context=None):
        self._future.add_done_callback(lambda _: function(self), context=context)

    def __getattr__(self, name):
        return getattr(self._future, name)
