"""Who may look: the token, Host and Origin, as a real browser sends them."""

import http.client


def get(service, path, **headers):
    """Return the status and the body of an answer."""
    connection = http.client.HTTPConnection(service.address.hostname, service.address.port)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_a_wrong_token_shows_nothing(browser, start_service):
    service = start_service("--empty")
    for url in (
        service.url.replace("token=", "token=x"),
        service.url.partition("?")[0],
    ):
        browser.open(url)
        browser.wait_for("document.body.innerText.startsWith('The token is missing or wrong')")
        assert "service.py" not in browser.evaluate("document.documentElement.outerHTML")


def test_a_page_of_another_origin_learns_nothing(browser, start_service):
    victim, attacker = start_service("--empty"), start_service("--empty")
    token = victim.address.query
    target = f"http://{victim.address.netloc}/snapshot.json?{token}"
    browser.open(attacker.url)
    browser.wait_for("document.readyState === 'complete'")
    answer = browser.evaluate(
        f"fetch({target!r}).then((answer) => answer.text(), (error) => String(error))"
    )
    assert "TypeError" in answer
    # Nor does the server answer one that a browser would let through.
    status, body = get(
        victim, f"/snapshot.json?{token}", Origin=f"http://{attacker.address.netloc}"
    )
    assert (status, "tasks" in body) == (403, False)


def test_a_name_that_was_pointed_here_is_refused(start_service):
    service = start_service("--empty")
    path = f"/snapshot.json?{service.address.query}"
    assert get(service, path)[0] == 200
    for host in ("evil.example", f"evil.example:{service.address.port}", "127.0.0.1.evil.example"):
        assert get(service, path, Host=host)[0] == 403


def test_the_page_cannot_be_framed_or_load_from_elsewhere(browser, start_service):
    service = start_service("--empty")
    browser.open(service.url)
    browser.wait_for("document.readyState === 'complete'")
    loaded = browser.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    assert loaded
    assert all(name.startswith(f"http://{service.address.netloc}/") for name in loaded)
    blocked = browser.evaluate(
        "fetch('http://127.0.0.1:9/').then(() => 'done', (error) => String(error))"
    )
    assert "TypeError" in blocked
