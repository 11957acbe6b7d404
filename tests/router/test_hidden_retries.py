"""Attempts that nobody has declared are counted, and more than the budget holds are found (decision 0039)."""

from __future__ import annotations

from regrow.router.hidden_retries import GRACE, RetryMeter, over_budget
from regrow.runtime.guard_errors import HiddenRetries
from regrow.runtime.guards import Finding
from regrow.runtime.run_store import WireCounts

HOST = "models.example"


class Meter(RetryMeter):
    """A meter, and what was told of it."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share
        self._told: dict[str, WireCounts] = {}

    def found(self, to: str, call: str, body: str, now_s: float) -> Finding | None:
        """What is said of one more attempt."""
        if not self.sent(to, call, body, now_s):
            return None
        self._told[to] = self._told.get(to, WireCounts()).plus(self.untold(to))
        return over_budget(to, self._told[to], self._share)


def attempts(meter: Meter, call: str, statuses: list[int], *, body: str = "", now_s: float = 0.0) -> list[bool]:
    """Sends so many attempts of a call; whether each is more than the budget holds."""
    said: list[bool] = []
    for status in statuses:
        said.append(meter.found(HOST, call, body or call, now_s) is not None)
        meter.answered(HOST, call, body or call, status, now_s)
    return said


def test_attempts_beyond_those_declared_are_borne_up_to_the_grace_and_then_found() -> None:
    meter = Meter(0.1)
    meter.called(HOST, "1", declared=2)

    assert attempts(meter, "1", [500] * 7) == [False] * (2 + GRACE) + [True] * 2


def test_what_is_found_says_how_many_there_were() -> None:
    meter, finding = Meter(0.0), None
    meter.called(HOST, "1")
    for _ in range(GRACE + 2):
        finding = meter.found(HOST, "1", "body", 0.0)

    assert isinstance(finding, Finding) and finding.error is HiddenRetries
    assert finding.evidence == {"address": HOST, "calls": 1, "attempts": GRACE + 2, "hidden": GRACE + 1}
    assert "give it max_retries=0" in finding.text


def test_many_calls_bear_their_share_of_hidden_attempts() -> None:
    meter = Meter(0.1)
    found = []
    for number in range(100):
        meter.called(HOST, str(number))
        found += attempts(meter, str(number), [0, 200] if number % 10 == 9 else [200])

    assert not any(found)


def test_declared_attempts_and_calls_that_ask_anew_are_no_hidden_ones() -> None:
    meter = Meter(0.0)
    for number in range(50):
        meter.called(HOST, f"a{number}", declared=3)
        assert not any(attempts(meter, f"a{number}", [500, 500, 200]))
        meter.called(HOST, f"b{number}")
        assert not any(attempts(meter, f"b{number}", [500], body="same"))


def test_what_follows_a_redirect_is_no_second_attempt() -> None:
    meter = Meter(0.0)
    for number in range(20):
        meter.called(HOST, str(number))
        assert not any(attempts(meter, str(number), [307, 307, 200]))


def test_without_a_call_what_repeats_a_failure_is_hidden_and_what_repeats_a_success_is_not() -> None:
    good, bad = Meter(0.0), Meter(0.0)

    assert not any(attempts(good, "", [200] * 20, body="same"))
    assert attempts(bad, "", [500] * (GRACE + 2), body="same") == [False] * (GRACE + 1) + [True]


def test_what_is_sent_again_long_after_a_failure_repeats_nothing() -> None:
    meter = Meter(0.0)

    assert not any(attempts(meter, "", [500], body="same", now_s=1000.0 * number)[0] for number in range(20))


def test_each_address_has_a_budget_of_its_own() -> None:
    meter = Meter(0.0)
    meter.called("other", "1")
    for _ in range(10):
        meter.found("other", "1", "body", 0.0)
    meter.called(HOST, "2")

    assert attempts(meter, "2", [500, 200]) == [False, False]


def test_a_long_past_without_retries_does_not_hide_a_storm() -> None:
    meter = Meter(0.1)
    for number in range(5_000):
        meter.called(HOST, str(number))
        attempts(meter, str(number), [200])
    found = []
    for number in range(100):
        meter.called(HOST, f"late {number}")
        found += attempts(meter, f"late {number}", [500] * 3)

    assert any(found)
