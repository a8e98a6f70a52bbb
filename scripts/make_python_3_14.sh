#!/usr/bin/env bash
# Makes a CPython 3.14, with headers and CPython's own tests, in build/python-3.14, out of the
# packages of Debian's unstable distribution. Nothing is installed on the machine: apt keeps its
# lists and its idea of what is installed in a folder of its own, the packages are unpacked and no
# script of theirs runs. So neither root nor a chroot is needed, and nothing is ever mounted.
#
# The interpreter runs on the C library that it was unpacked with, which is newer than most
# machines have: usr/bin/python3.14 is a script that starts it through that library's own loader.
# That costs a millisecond at its start. Programs that it starts run on the machine's libraries,
# because nothing is put into the environment. (patchelf could make it start without the script,
# but the version that Debian has at this time writes an executable that crashes.)
#
# DEBIAN_MIRROR says where to get the packages from; without it the machine's own mirror is asked.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(python3.14 python3.14-venv libpython3.14-dev libpython3.14-testsuite)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
finished=$PWD/build/python-3.14
work=$finished.unfinished

stop() {
    echo "make python-3.14: $*" >&2
    exit 1
}

say_and_do() {
    echo "+ $*"
    "$@"
}

debian_mirror() {
    apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m 1 '/debian/$' || true
}

for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null ||
        stop "needs $tool, so Debian or a relative of it. Elsewhere put a python3.14 on the PATH."
done
[[ -r $keyring ]] || stop "needs $keyring (Debian's package debian-archive-keyring)"
mirror=${DEBIAN_MIRROR:-$(debian_mirror)}
[[ -n $mirror ]] || stop "found no Debian mirror among apt's sources: set DEBIAN_MIRROR to one"

rm -rf "$work"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/apt/{lists/partial,archives/partial} "$work/tree"
: >"$work/apt/installed"
echo "deb [signed-by=$keyring] $mirror unstable main" >"$work/apt/sources.list"
cat >"$work/apt/apt.conf" <<CONFIGURATION
Dir::State "$work/apt";
Dir::State::status "$work/apt/installed";
Dir::Cache "$work/apt";
Dir::Etc::SourceList "$work/apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Parts "/dev/null";
Acquire::Languages "none";
// A mirror that has not been brought up to date for a week serves as well.
Acquire::Check-Valid-Until "false";
// Downloads as who runs this: another user could not write here.
APT::Sandbox::User "";
CONFIGURATION
export APT_CONFIG=$work/apt/apt.conf

echo "Making $finished (40 MB to download, no root needed)"
say_and_do apt-get --quiet --quiet update
say_and_do apt-get --quiet --quiet --yes --no-install-recommends --download-only install "${packages[@]}"
echo "+ dpkg-deb --extract, for each of $(find "$work/apt" -name '*.deb' | wc -l) packages"
for package in "$work"/apt/archives/*.deb; do
    dpkg-deb --extract "$package" "$work/tree"
done

usr=$work/tree/usr
loader=$(cd "$usr" && find lib -name 'ld-linux*.so.*' | head -n 1)
mkdir -p "$usr/libexec"
mv "$usr/bin/python3.14" "$usr/libexec/python3.14"
cat >"$usr/bin/python3.14" <<LAUNCHER
#!/bin/sh
# Made by scripts/make_python_3_14.sh, which says why.
usr='$finished/usr'
exec "\$usr/$loader" --argv0 "\$0" --library-path "\$usr/${loader%/*}" \\
    "\$usr/libexec/python3.14" "\$@"
LAUNCHER
chmod 755 "$usr/bin/python3.14"
# Where ensurepip looks for pip.
sed -i "s|'WHEEL_PKG_DIR': '/usr/|'WHEEL_PKG_DIR': '$finished/usr/|" \
    "$usr"/lib/python3.14/_sysconfigdata__linux_*.py

rm -rf "$finished"
mv "$work/tree" "$finished"
"$finished/usr/bin/python3.14" -c 'import ssl, sys, test.test_asyncio; print("Made", sys.executable, sys.version)'
