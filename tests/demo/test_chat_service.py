"""Each route of the chat example answers rightly, on asyncio and on ferrio."""

import asyncio

import pytest

from demo.client import answer_to
from demo.outcome import expect
from demo.rounds import messages_in


def test_the_service_runs_on_the_loop_that_it_was_started_on(with_service):
    async def scenario(running):
        await running.client.ask_loop()
        assert running.client.outcome.ok == 1

    with_service(scenario)


def test_json_goes_in_and_out(with_service):
    async def scenario(running):
        await running.client.count_words("one three five")
        async with running.client.session.post("/words", json={"text": 5}) as response:
            expect(response.status, 422)

    with_service(scenario)


def test_what_is_posted_is_on_record(with_service):
    async def scenario(running):
        for number in range(12):
            await running.client.post(f"message {number}")
        await running.client.read_latest()
        await running.client.read_statistics()
        assert running.client.outcome.ok == 14

    with_service(scenario)


def test_an_answer_is_streamed_while_it_is_made(with_service):
    async def scenario(running):
        loop = asyncio.get_running_loop()
        prompt = " ".join(["word"] * 100)
        times = [loop.time() async for _ in running.client.tokens(prompt)]
        assert len(times) == 102
        # The model server pauses for a millisecond before each token.
        assert times[-1] - times[0] > 0.1

    with_service(scenario)


def test_many_answers_at_once_share_the_connections(with_service):
    async def scenario(running):
        prompts = [f"question {number}" for number in range(150)]
        await asyncio.gather(*map(running.client.stream_answer, prompts))
        assert running.client.outcome.ok == 150

    with_service(scenario)


def test_a_listener_who_leaves_does_not_disturb_the_next(with_service):
    async def scenario(running):
        async with running.client.session.get(
            "/answers", params={"prompt": "a " * 500}
        ) as response:
            await response.content.readline()
            response.close()
        for _ in range(5):
            await running.client.stream_answer("and who is next")

    with_service(scenario)


def test_a_slow_topic_is_given_up_and_the_others_are_summarized(with_service):
    async def scenario(running):
        quick = [f"topic {number}" for number in range(9)]
        loop = asyncio.get_running_loop()
        started = loop.time()
        await running.client.summarize([*quick, "slow one"])
        assert running.summary_timeout - 0.1 <= loop.time() - started < 15
        await running.client.summarize(quick)

    with_service(scenario)


def test_a_missing_model_server_is_answered_with_503(with_service):
    async def scenario(running):
        running.model.terminate()
        await running.model.stopped()
        topics = {"topic": "tides"}
        async with running.client.session.get("/summaries", params=topics) as response:
            expect(response.status, 503)

    with_service(scenario)


def test_everybody_in_a_room_hears_everybody(with_service):
    async def scenario(running):
        async with running.room("hall", 4) as hall, running.room("attic", 2) as attic:
            for number in range(40):
                await asyncio.gather(hall.talk(f"hall {number}"), attic.talk(f"attic {number}"))

    with_service(scenario)


@pytest.mark.parametrize("messages", [1, 400])
def test_sigterm_loses_nothing(with_service, messages):
    async def scenario(running):
        async with running.room("hall", 2) as hall:
            for number in range(messages):
                await hall.talk(f"message {number}")
            received = []
            async for token in running.client.tokens("word " * 100):
                if not received:
                    running.service.terminate()
                received.append(token)
            expect(received, answer_to("word " * 100))
            await hall.closed(1012)
        await running.service.stopped()
        expect(messages_in(running.database), {"hall": messages})

    with_service(scenario)
