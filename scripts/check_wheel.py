"""Look at a wheel and at what pip has installed from it, in the environment that runs this.

usage: check_wheel.py WHEEL
"""

import email
import importlib.metadata
import importlib.util
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

PROGRAM = """
import asyncio, sys

async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"there and back")
        writer.write_eof()
        print(type(asyncio.get_running_loop()).__module__, await reader.read(), sys.argv[1:])
        writer.close()
        await writer.wait_closed()

async def echo(reader, writer):
    writer.write(await reader.read())
    writer.close()

asyncio.run(main())
"""
SAID = "b'there and back' ['--its', 'own']"


def problems_of_the_file(wheel: Path) -> list[str]:
    """Return what is wrong with its name, its contents and its metadata."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    machine = sysconfig.get_platform().rpartition("-")[2]
    name, version, python_tag, abi_tag, platforms = wheel.name.removesuffix(".whl").split("-")
    found = []
    if (name, python_tag, abi_tag) != ("ferrio", tag, tag):
        found.append(f"it is not called ferrio-{version}-{tag}-{tag}-…")
    if not all(each.startswith("manylinux") for each in platforms.split(".")):
        found.append(f"{platforms} says nothing of the C library that it needs")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = f"ferrio-{version}.dist-info"
        tags = email.message_from_bytes(archive.read(f"{info}/WHEEL")).get_all("Tag")
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
    expected = [f"{tag}-{tag}-{platform}" for platform in platforms.split(".")]
    if sorted(tags or []) != sorted(expected):
        found.append(f"its tags are {tags}, and its name says {expected}")
    libraries = [each for each in names if each.endswith(".so")]
    if libraries != [f"ferrio/_ferrio.cpython-{tag[2:]}-{machine}-linux-gnu.so"]:
        found.append(f"its native modules are {libraries}")
    for each in ("ferrio/py.typed", "ferrio/_ferrio.pyi", f"{info}/entry_points.txt"):
        if each not in names:
            found.append(f"{each} is not in it")
    wanted = {
        "Name": "ferrio",
        "Version": version,
        "Requires-Python": ">=3.11",
        "License-Expression": "MIT OR Apache-2.0",
        "Description-Content-Type": "text/markdown; charset=UTF-8; variant=GFM",
    }
    for field, value in wanted.items():
        if metadata[field] != value:
            found.append(f"its {field} is {metadata[field]!r} and not {value!r}")
    if not metadata["Summary"] or len(metadata.get_all("License-File", [])) != 2:
        found.append("its metadata lack the summary or the licences")
    return found


def problems_of_what_is_installed(wheel: Path) -> list[str]:
    """Return what does not work in this environment."""
    found = []
    version = importlib.metadata.version("ferrio")
    if version != wheel.name.split("-")[1]:
        found.append(f"version {version} is installed")
    spec = importlib.util.find_spec("ferrio")
    if spec is None or not str(spec.origin).startswith(sys.prefix):
        found.append(f"ferrio is imported from {spec and spec.origin}")
    program = Path("program.py")
    program.write_text(PROGRAM)
    command = Path(sys.prefix, "bin", "ferrio")
    for start in ([command], [sys.executable, "-I", "-m", "ferrio"]):
        ended = subprocess.run(
            [*start, program, "--its", "own"], capture_output=True, text=True, timeout=60
        )
        said = ended.stdout.strip()
        if ended.returncode or ended.stderr or not said.startswith("ferrio"):
            found.append(f"{start} failed ({ended.returncode}): {said} {ended.stderr}")
        elif said.split(" ", 1)[1] != SAID:
            found.append(f"{start} said {said!r}")
    return found


def main() -> int:
    wheel = Path(sys.argv[1])
    problems = problems_of_the_file(wheel) + problems_of_what_is_installed(wheel)
    for each in problems:
        print(f"{wheel.name}: {each}", file=sys.stderr)
    if not problems:
        print(f"{wheel.name}: {wheel.stat().st_size / 2**20:.1f} MiB, installs and runs")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
