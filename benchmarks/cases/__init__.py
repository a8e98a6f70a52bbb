"""The cases, one subject a module. Importing this package registers them all, in this order."""

# ruff: noqa: F401, I001  (imported for what they register, and in the order of the table)
from cases import (
    tasks,
    synchronization,
    scheduling,
    echo,
    sockets,
    datagrams,
    tls,
    processes,
    web,
    service,
    lifecycle,
    memory,
    price,
    growth,
)
