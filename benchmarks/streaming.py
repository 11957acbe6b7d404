"""A token stream between two hosts, and Ray's own streaming generator between two actors of the same session."""

from __future__ import annotations

from typing import Any

from measure import Options, Result, Screen, alternated, median, ratio, rounded
from stream_work import Listen, Listener, RawListener, RawSpeaker, stream_app

WORDS = 100_000
WORDS_QUICK = 5_000
PACE_PER_S = 20_000
"""At this pace the gaps are measured: as fast as it goes, most tokens are there before they are asked for."""
RAW_WORDS = 5_000
RAW_WORDS_QUICK = 500


async def measured(options: Options, screen: Screen) -> Result:
    """Tokens per second and the gaps between them, on both sides."""
    import ray  # the session is started by our app

    words, raw_words = (WORDS_QUICK, RAW_WORDS_QUICK) if options.quick else (WORDS, RAW_WORDS)
    gaps: dict[str, list[float]] = {"raw Ray": [], "Regrow": []}
    async with stream_app.start(engine="ray") as running:
        listener = running.ref(Listener)
        speaker: Any = ray.remote(num_cpus=0)(RawSpeaker).remote()
        raw_listener: Any = ray.remote(num_cpus=0)(RawListener).remote()

        async def raw() -> float:
            per_s, gap_ms = await raw_listener.listen.remote(speaker, raw_words)
            gaps["raw Ray"].append(gap_ms)
            return float(per_s)

        async def ours() -> float:
            return (await listener.ask(Listen(words=words), timeout_s=120.0)).per_s

        async def paced() -> float:
            heard = await listener.ask(Listen(words=words, per_s=PACE_PER_S), timeout_s=120.0)
            return heard.gap_ms_p99

        await raw()
        await ours()
        gaps["raw Ray"].clear()
        gaps["Regrow"] = [await paced() for _ in range(options.rounds)]
        rounds = await alternated(options.rounds, {"raw Ray": raw, "Regrow": ours})
    screen.rates("A token stream between two hosts", rounds, "tokens/s")
    screen.rates(f"… the 99th percentile of its gaps, ours at {PACE_PER_S:,} tokens a second", gaps, "ms")
    rate, raw_rate = median(rounds["Regrow"]), median(rounds["raw Ray"])
    return {
        "stream_tokens_per_s": rounded(rate),
        "stream_gap_ms_p99": rounded(median(gaps["Regrow"])),
        "stream_ratio": ratio(rate, raw_rate),
        "raw_stream_tokens_per_s": rounded(raw_rate),
        "raw_stream_gap_ms_p99": rounded(median(gaps["raw Ray"])),
    }
