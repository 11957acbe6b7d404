"""What a driver knows of the deaths of its guardian: pure, it is told lives and times."""

from __future__ import annotations

from regrow.cluster.orders import GuardianStarted
from regrow.runtime import Escalated
from regrow.supervisors import Intensity


class GuardianDeaths:
    """Counts the lives of a guardian that Ray restarts; the driver is the supervisor of the tree's top."""

    def __init__(self, first: GuardianStarted, *, max_restarts: int, within_s: float) -> None:
        self.life = first.life
        self._restarts = first.restarts
        self._intensity = Intensity(max_restarts=max_restarts, within_s=within_s)

    def is_news(self, started: GuardianStarted) -> bool:
        """Whether this is another life than the last one; else contact was lost for a moment."""
        return started.life != self.life

    def follow(self, started: GuardianStarted, *, now_s: float) -> Escalated | None:
        """Goes on to this life. Returns the end of the app where there were too many."""
        # A life that died before it had answered was never seen from here, and counts all the same.
        unseen = range(max(1, started.restarts - self._restarts))
        verdicts = [self._intensity.record("guardian", now_s=now_s) for _ in unseen]
        self.life, self._restarts = started.life, started.restarts
        if any(verdict.escalates for verdict in verdicts):
            return Escalated(child="the guardian", restarts=self._intensity.restarts, cause="see the logs of Ray")
        return None
