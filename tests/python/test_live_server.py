"""``ferrio.serve_metrics()``, ``FERRIO_HTTP`` and ``python -m ferrio --web``."""

import asyncio
import ctypes
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from urllib.parse import urlsplit

import pytest

import ferrio
from inspected import eventually

TOKEN = "a-token-of-the-tests"


@pytest.fixture
def server():
    with ferrio.serve_metrics(token=TOKEN) as server:
        yield server


def get(server, path, token=TOKEN, **headers):
    """Return the status and the body of an answer."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def get_json(server, path):
    status, body = get(server, path)
    assert status == 200, body
    return json.loads(body)


def hold_the_interpreter(seconds):
    """Call a function of C that keeps the interpreter."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


class TestServing:
    def test_a_running_loop(self, server):
        async def sleep_for_long():
            await asyncio.sleep(1000)

        async def main():
            task = asyncio.create_task(sleep_for_long(), name="sleeper")
            await asyncio.sleep(0)
            begun = time.monotonic()
            async with asyncio.timeout(60):
                while True:
                    snapshot = await asyncio.to_thread(get_json, server, "/snapshot.json")
                    # On a busy machine the loop may not have answered in time.
                    if snapshot["tasks_at"] is not None and snapshot["tasks_at"] >= begun:
                        return snapshot, begun, task

        snapshot, begun, _ = ferrio.run(main())
        assert snapshot["process"] == os.getpid()
        (loop,) = [each for each in snapshot["loops"] if each["thread"]]
        (sleeper,) = [task for task in loop["tasks"] if task["name"] == "sleeper"]
        assert sleeper["coroutine"] == sleep_for_long.__qualname__
        assert sleeper["state"] == "waiting"
        # It was fresh.
        assert begun <= snapshot["tasks_at"] <= snapshot["taken_at"]

    def test_python_code_that_blocks_the_loop(self, server):
        """The loop's thread waits for the answer: it is given by another."""

        async def main():
            await asyncio.sleep(0.001)
            return eventually(running_task), get_json(server, "/metrics.json")

        def running_task():
            (loop,) = [
                each for each in get_json(server, "/snapshot.json")["loops"] if each["thread"]
            ]
            assert loop["running"]["kind"] == "step"
            # Tasks are those of before where that other thread comes too late.
            found = [task for task in loop["tasks"] if task["id"] == loop["running"]["task"]]
            return found and found[0]

        task, metrics = ferrio.run(main())
        assert task["state"] == "running"
        (numbers,) = [each for each in metrics["loops"] if each["running"]]
        assert numbers["lag_now"] > 0

    def test_c_code_that_holds_the_interpreter(self, server):
        """Another process asks, because in this one no Python code can."""
        program = """if True:
            import json, sys, time, urllib.request
            url, held = sys.argv[1], 0
            end = time.monotonic() + 60
            while held < 3 and time.monotonic() < end:
                answer = json.load(urllib.request.urlopen(url, timeout=30))
                print(json.dumps(answer), flush=True)
                held += answer["snapshot"]["taken_at"] - answer["snapshot"]["tasks_at"] > 0.5
                time.sleep(0.1)
            print("end", file=sys.stderr)
        """
        url = f"http://{server.host}:{server.port}/live.json?token={TOKEN}"
        command = [sys.executable, "-c", program, url]

        async def main():
            await asyncio.sleep(0.001)
            # Into a file, because nobody reads while the interpreter is held.
            with (
                tempfile.TemporaryFile("w+") as answers,
                subprocess.Popen(command, stdout=answers, stderr=subprocess.PIPE) as process,
            ):
                one_byte = ctypes.create_string_buffer(1)
                # Its first byte on the standard error comes when it has seen what it wants.
                assert ctypes.PyDLL(None).read(process.stderr.fileno(), one_byte, 1) == 1
                process.wait()
                answers.seek(0)
                return [json.loads(line) for line in answers]

        answers = ferrio.run(main())
        ages = [each["snapshot"]["taken_at"] - each["snapshot"]["tasks_at"] for each in answers]
        held = [answer for answer, age in zip(answers, ages, strict=True) if age > 0.5]
        assert len(held) == 3
        lags = [each["metrics"]["loops"][-1]["lag_now"] for each in held]
        assert lags == sorted(lags)
        assert lags[-1] > lags[0]

    def test_prometheus_reads_the_text(self, server):
        parser = pytest.importorskip("prometheus_client.parser")

        def numbers():
            status, text = get(server, "/metrics")
            assert status == 200
            # Python may have been too late to say how many tasks there are.
            return "ferrio_tasks_by_state{" in text and text

        async def main():
            await asyncio.to_thread(int)
            return await asyncio.to_thread(eventually, numbers)

        text = ferrio.run(main())
        families = {each.name: each for each in parser.text_string_to_metric_families(text)}
        assert families["ferrio_loop_turns"].type == "counter"
        assert families["ferrio_loop_turns"].samples[-1].value > 0
        lag = families["ferrio_loop_lag_seconds"]
        assert lag.type == "histogram"
        buckets = [each for each in lag.samples if each.name.endswith("_bucket")]
        by_loop = {}
        for bucket in buckets:
            by_loop.setdefault(bucket.labels["loop"], []).append(bucket)
        for ordered in by_loop.values():
            values = [each.value for each in ordered]
            assert values == sorted(values)
            assert ordered[-1].labels["le"] == "+Inf"
        states = {
            each.labels["state"]: each.value for each in families["ferrio_tasks_by_state"].samples
        }
        assert set(states) == {"running", "ready", "waiting"}

    def test_the_page(self, server):
        status, page = get(server, f"/?token={TOKEN}", token=None)
        assert (status, page[:15]) == (200, "<!doctype html>")

    def test_without_a_loop(self, server):
        def nobody_runs():
            # Of other tests some loops may be left.
            loops = get_json(server, "/snapshot.json")["loops"]
            return all(each["thread"] is None for each in loops)

        eventually(nobody_runs)


class TestAccess:
    def test_the_token(self, server):
        for token in (None, "", "another-token", TOKEN + "x"):
            assert get(server, "/metrics", token=token)[0] == 401

    def test_a_random_token(self):
        with ferrio.serve_metrics() as server:
            assert re.fullmatch("[0-9a-f]{32}", server.token)
            assert server.url == f"http://127.0.0.1:{server.port}/?token={server.token}"
            assert server.token not in repr(server)
            assert get(server, "/metrics", token=server.token)[0] == 200

    def test_public_metrics(self):
        with ferrio.serve_metrics(token=TOKEN, public_metrics=True) as server:
            assert get(server, "/metrics", token=None)[0] == 200
            assert get(server, "/snapshot.json", token=None)[0] == 401

    def test_hosts_and_origins(self, server):
        assert get(server, "/metrics", Host="evil.example")[0] == 403
        assert get(server, "/metrics", Origin="http://evil.example")[0] == 403

    @pytest.mark.parametrize("host", ["0.0.0.0", "::"])
    def test_other_machines(self, host):
        with pytest.raises(ValueError, match="not a loopback address; pass allow_remote=True"):
            ferrio.serve_metrics(host)
        try:
            server = ferrio.serve_metrics(host, token=TOKEN, allow_remote=True)
        except OSError:
            pytest.skip("there is no such address here")
        server.close()

    @pytest.mark.parametrize(
        "token", ["", "short", "with spaces in it", "ümlautümlaut", "a&b=cdefgh"]
    )
    def test_bad_tokens(self, token):
        with pytest.raises(ValueError, match="token must be"):
            ferrio.serve_metrics(token=token)

    @pytest.mark.parametrize("port", [-1, 65536])
    def test_bad_ports(self, port):
        with pytest.raises(ValueError, match="port must be 0-65535"):
            ferrio.serve_metrics(port=port)


class TestItsLife:
    def test_one_a_process(self, server):
        with pytest.raises(RuntimeError, match=f"serves already, at 127.0.0.1:{server.port}"):
            ferrio.serve_metrics()

    def test_closing(self):
        server = ferrio.serve_metrics(token=TOKEN)
        server.close()
        server.close()
        with pytest.raises(ConnectionRefusedError):
            get(server, "/metrics")
        with ferrio.serve_metrics(port=server.port, token=TOKEN) as again:
            # One that was closed before is not this one.
            server.close()
            assert get(again, "/metrics")[0] == 200

    def test_a_port_that_is_taken(self, server):
        program = (
            "import ferrio, sys\n"
            "try: ferrio.serve_metrics(port=int(sys.argv[1]))\n"
            "except OSError as error: print(error.errno)"
        )
        command = [sys.executable, "-c", program, str(server.port)]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        import errno

        assert int(answer.stdout) == errno.EADDRINUSE

    def test_started_and_closed_by_many_threads(self):
        def start_and_close():
            for _ in range(5):
                try:
                    server = ferrio.serve_metrics(token=TOKEN)
                except RuntimeError:
                    continue
                server.close()

        threads = [threading.Thread(target=start_and_close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with ferrio.serve_metrics(token=TOKEN) as server:
            assert get(server, "/metrics")[0] == 200

    def test_a_fork(self, server):
        """The child serves nothing and may have a server of its own; the parent goes on."""

        async def main():
            process = os.fork()
            if process == 0:
                code = 1
                try:
                    server.close()
                    own = ferrio.serve_metrics(token=TOKEN)
                    code = 0 if own.port != server.port and get(own, "/metrics")[0] == 200 else 2
                finally:
                    os._exit(code)
            # The next turn starts the thread again.
            await asyncio.sleep(0.001)
            _, status = await asyncio.to_thread(os.waitpid, process, 0)
            return status, await asyncio.to_thread(get, server, "/metrics")

        child, (status, _) = ferrio.run(main())
        assert (child, status) == (0, 200)


PROGRAM = """
import asyncio, sys, urllib.request

async def main():
    await asyncio.sleep(0)
    url = sys.stdin.readline().strip()
    print(await asyncio.to_thread(lambda: urllib.request.urlopen(url).status))

asyncio.run(main())
"""


def run_program(*arguments, **environment):
    """Run a program that opens the URL which it is sent; return what it wrote and its URL."""
    process = subprocess.Popen(
        [sys.executable, *arguments, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    with process:
        said = process.stderr.readline()
        url = said.removeprefix("ferrio: ").strip()
        output, errors = process.communicate(f"{url}\n" if url.startswith("http") else "\n", 60)
    return process.returncode, output, said + errors, url


class TestAskedForFromOutside:
    @pytest.mark.parametrize("option", [["--web", "127.0.0.1:0"], ["--web=0"]])
    def test_the_command_line(self, option):
        code, output, errors, url = run_program("-m", "ferrio", *option)
        assert (code, output) == (0, "200\n"), errors
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[0-9a-f]{32}", url)

    def test_the_environment(self):
        code, output, errors, url = run_program(
            "-m", "ferrio", FERRIO_HTTP="localhost:0", FERRIO_HTTP_TOKEN=TOKEN
        )
        assert (code, output) == (0, "200\n"), errors
        assert urlsplit(url).query == f"token={TOKEN}"

    @pytest.mark.parametrize(
        ("address", "words"),
        [
            ("0.0.0.0:0", "not a loopback address"),
            ("nonsense", "is no address"),
            ("127.0.0.1:99999", "is no address"),
        ],
    )
    def test_an_address_that_is_refused_harms_nobody(self, address, words):
        program = "import asyncio; asyncio.run(asyncio.sleep(0)); print('ran')"
        answer = subprocess.run(
            [sys.executable, "-m", "ferrio", "-c", program],
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"FERRIO_HTTP": address},
            check=True,
        )
        assert answer.stdout == "ran\n"
        assert words in answer.stderr

    def test_a_wrong_option(self):
        answer = subprocess.run(
            [sys.executable, "-m", "ferrio", "--web", "nonsense", "-c", "pass"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert answer.returncode == 2
        assert "argument --web: 'nonsense' is no address" in answer.stderr

    def test_nothing_listens_unless_it_is_asked_for(self):
        program = (
            "import asyncio, os\n"
            "async def main():\n"
            "    names = [open(f'/proc/self/task/{task}/comm').read().strip()\n"
            "             for task in os.listdir('/proc/self/task')]\n"
            "    print([name for name in names if 'ferrio-http' in name])\n"
            "asyncio.run(main())"
        )
        answer = subprocess.run(
            [sys.executable, "-m", "ferrio", "-c", program],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert answer.stdout == "[]\n"
