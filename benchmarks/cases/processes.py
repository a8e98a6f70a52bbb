"""Subprocesses."""

from __future__ import annotations

import asyncio

from harness.case import coroutine_case, verify

GROUP = "Subprocesses"


@coroutine_case("subprocess-spawn", title="create_subprocess_exec(true) + wait()", group=GROUP)
async def spawn(operations: int) -> int:
    """What does the parent pay to start a program with a pipe, and to learn of its end?"""
    done = 0
    for _ in range(operations):
        process = await asyncio.create_subprocess_exec("true", stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        verify("output", out, b"")
        verify("return code", process.returncode, 0)
        done += 1
    return done
