"""The web page, in a real browser."""

import pytest

STATE = "document.getElementById('state').innerText"
WIDTHS = (1280, 420)


def text(identifier):
    return f"document.getElementById('{identifier}').innerText"


def shown(identifier):
    return f"!document.getElementById('{identifier}').hidden"


def row(name):
    """Return what finds a task's row in the tree."""
    return f"""[...document.querySelectorAll('#task-rows .row')]
        .find((row) => row.querySelector('b').innerText === '{name}')"""


def seconds_of(words):
    """Return what reads the first number with "s" or "ms" of a text, in seconds."""
    return f"""(() => {{
        const [, number, unit] = {words}.match(/([0-9.]+) (m?s)/) ?? [0, 0, "s"];
        return Number(number) * (unit === "ms" ? 0.001 : 1);
    }})()"""


def show(page, service):
    page.open(service.url)
    page.wait_for(f"{text('process')}.includes('service.py') && {row('Task-1')}")


def test_a_known_task_is_shown_where_it_belongs(page, start_service):
    show(page, start_service())
    page.wait_for(row("janitor"))
    assert page.evaluate(f"{row('janitor')}.innerText.includes('clean_up')")
    # Below the task that made it.
    assert page.evaluate(f"{row('supervisor')}.nextElementSibling.innerText").startswith("worker-")
    page.wait_for("document.querySelectorAll('.lane .task').length > 40")


def test_what_many_tasks_do_is_one_row_until_it_is_opened(page, start_service):
    show(page, start_service())
    page.wait_for(row("speak × 40"))
    assert not page.evaluate(row("speaker-7"))
    page.evaluate(f"{row('speak × 40')}.click()")
    page.wait_for(row("speaker-7"))


def test_the_numbers_move(page, start_service):
    show(page, start_service())
    page.wait_for(r"/[1-9].*\/s/.test(document.getElementById('now-numbers').innerText)")
    page.wait_for(r"/[1-9].* k?B\/s/.test(document.getElementById('traffic-numbers').innerText)")
    page.wait_for("document.querySelectorAll('#busy-chart .curve').length == 1")
    page.wait_for("document.querySelectorAll('#lag-chart .curve').length == 2")


def test_details_of_a_task(page, start_service, keep_picture):
    show(page, start_service())
    page.wait_for(row("worker-mail"))
    page.evaluate(f"{row('worker-mail')}.click()")
    page.wait_for(shown("details"))
    details = page.evaluate(text("details"))
    assert "worker-mail" in details
    assert "service.py" in details
    assert "tick" in details
    keep_picture("details-1280")
    page.evaluate(f"{row('commander')}.click()")
    # What it waits for has a name in the program.
    page.wait_for(f"/Called\\s+commands/.test({text('details')})")
    page.evaluate(f"{row('worker-mail')}.click()")
    page.wait_for(f"{text('details')}.includes('worker-mail')")
    # Who made it is one click away.
    page.evaluate("document.querySelector('#details .link').click()")
    page.wait_for(f"{text('details')}.startsWith('✕') && {text('details')}.includes('supervise')")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Escape")
    page.wait_for(f"!({shown('details')})")


def test_the_filter(page, start_service):
    show(page, start_service())
    page.wait_for(row("janitor"))
    page.evaluate("""(() => {
        const filter = document.getElementById('filter');
        filter.value = 'clean';
        filter.dispatchEvent(new Event('input'));
    })()""")
    names = "[...document.querySelectorAll('#task-rows b')].map((name) => name.innerText)"
    assert sorted(page.evaluate(names)) == ["janitor", "patient"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_busy_service(page, start_service, keep_picture, width, scheme):
    page.show_as(width, 900, scheme=scheme)
    show(page, start_service())
    page.wait_for("document.querySelectorAll('.lane .task').length > 40")
    page.wait_for("document.querySelectorAll('#lag-chart .curve').length == 2")
    # Of curves there is more to see after a while.
    curve = "document.querySelector('#busy-chart path.curve').getAttribute('d')"
    page.wait_for(f"{curve}.split('L').length > 10")
    assert_fits(page)
    keep_picture(f"busy-{width}-{scheme}", whole=True)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_call_that_blocks(page, start_service, keep_picture, width):
    service = start_service()
    page.show_as(width, 900)
    show(page, service)
    service.tell("block 4")
    page.wait_for(shown("blocked"))
    first = page.wait_for(seconds_of(text("blocked-for")))
    # It moves while the loop is blocked, and names who blocks it.
    page.wait_for(f"{seconds_of(text('blocked-for'))} > {first} + 0.5")
    page.wait_for(f"{text('blocked-by')}.includes('read_slow_disk at service.py:')")
    assert page.evaluate(f"{text('blocked-by')}.includes('commander')")
    assert page.evaluate(STATE) == "blocked"
    assert_fits(page)
    keep_picture(f"blocked-{width}")
    page.wait_for(f"!({shown('blocked')})")
    page.wait_for(f"{text('blocks')}.includes('read_slow_disk')")


def test_c_code_that_holds_the_interpreter(page, start_service, keep_picture):
    service = start_service()
    show(page, service)
    service.tell("hold 4")
    page.wait_for(shown("blocked"))
    # What needs the interpreter is old, and that is said; the rest goes on.
    page.wait_for(shown("stale"))
    first = page.wait_for(seconds_of(text("stale")))
    page.wait_for(f"{seconds_of(text('stale'))} > {first} + 0.5")
    page.wait_for(f"{text('blocked-by')}.includes('hold_interpreter at service.py:')")
    keep_picture("held-1280")
    page.wait_for(f"!({shown('stale')})")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_program_with_nothing_to_do(page, start_service, keep_picture, width):
    page.show_as(width, 900)
    show(page, start_service("--empty"))
    page.wait_for(f"{STATE} === 'waits for events'")
    assert page.evaluate(text("nobody")).startswith("Nobody has waited for")
    assert_fits(page)
    keep_picture(f"empty-{width}", whole=True)


def test_pausing(page, start_service):
    show(page, start_service())
    page.evaluate("document.getElementById('pause').click()")
    before = page.evaluate(text("now-numbers"))
    page.evaluate("new Promise((done) => setTimeout(done, 1200))")
    assert page.evaluate(text("now-numbers")) == before
    page.evaluate("document.getElementById('pause').click()")
    page.wait_for(f"{text('now-numbers')} !== {before!r}")


def test_a_process_that_ends(page, start_service):
    service = start_service("--empty")
    show(page, service)
    service.end()
    page.wait_for(f"{STATE} === 'the process does not answer'")
    # The browser itself writes that nobody listens any more.
    page.open("about:blank")
    page.wait_for("location.href == 'about:blank'")
    page.console.clear()


def assert_fits(page):
    """Nothing is wider than the window."""
    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1]
