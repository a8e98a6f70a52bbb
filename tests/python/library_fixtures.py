"""Fixtures of the tests that run on asyncio's functions and on ferrio's alike, on either loop."""

import asyncio

import pytest

import ferrio


@pytest.fixture(params=[asyncio, ferrio], ids=["asyncio's", "ferrio's"])
def library(request):
    """The module that functions and classes are taken from; each runs on either loop."""
    return request.param


@pytest.fixture(params=["asyncio.Task", "ferrio.Task"])
def task_class(request):
    """What awaits them."""
    return {"asyncio.Task": asyncio.Task, "ferrio.Task": ferrio.Task}[request.param]


@pytest.fixture
def run(loop, task_class):
    """Run a coroutine in a task of the class at hand."""
    return lambda coroutine: loop.run_until_complete(task_class(coroutine, loop=loop))
