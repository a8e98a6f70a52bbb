"""What it costs that ferrio tells: the same work with more and with less of it switched on."""

from __future__ import annotations

from dataclasses import replace

from harness.case import EchoCase, register, registered

GROUP = "What telling costs"

MEASURED_IN = (
    "echo-protocol-1k-100",
    "uvicorn-plaintext",
    "sleep-100",
    "create-task",
    "parked-task",
)
"""The cases of which there is one more each, on ferrio and its variants alone."""

for _name in MEASURED_IN:
    _case = replace(
        registered()[_name],
        name=f"price-{_name}",
        group=GROUP,
        priced=True,
        question=f"What does it cost {_name} that ferrio watches, registers and records?",
    )
    if isinstance(_case, EchoCase):
        _case = replace(_case, has_floor=False)
    register(_case)
