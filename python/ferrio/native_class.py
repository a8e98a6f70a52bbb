"""The metaclass of the native classes that stand in the places of asyncio's."""

from __future__ import annotations

import abc

# asyncio's class by the native one.
originals_of: dict[type, type] = {}


class NativeClass(abc.ABCMeta):
    """The class of the native classes: what asyncio's own has made counts as an instance of theirs.

    A program may have made a queue before ``install()``, and ask afterwards whether it is an
    ``asyncio.Queue``. An ``ABCMeta``, so that a derived class may have an abstract base besides.
    """

    def __instancecheck__(cls, instance: object) -> bool:
        """Return True for instances, and for those of asyncio's class of that name."""
        original = originals_of.get(cls)
        if original is None:
            return super().__instancecheck__(instance)
        return type.__instancecheck__(cls, instance) or isinstance(instance, original)

    def __subclasscheck__(cls, subclass: type) -> bool:
        """Return True for derived classes, and for asyncio's class of that name and its own."""
        original = originals_of.get(cls)
        if original is None:
            return super().__subclasscheck__(subclass)
        return type.__subclasscheck__(cls, subclass) or issubclass(subclass, original)
