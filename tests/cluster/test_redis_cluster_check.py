"""Whether a Redis Cluster can be used, told before anything depends on it: by each of its masters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from regrow.cluster import doctor
from regrow.cluster.config import RedisSettings, Settings
from regrow.cluster.errors import RedisUnavailable
from regrow.cluster.journal_check import check_keeps
from regrow.cluster.redis_check import check_redis
from tests.conformance.redis_servers import ClusterNode, redis_7_program, started, started_cluster, url_of

pytestmark = [pytest.mark.redis, pytest.mark.slow]

KEEPS = ("appendonly yes", "appendfsync always", "maxmemory-policy noeviction")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ClusterNode]]:
    with started_cluster(redis_7_program(), tmp_path_factory.mktemp("checked"), *KEEPS) as found:
        yield found


def settings_of(nodes: list[ClusterNode]) -> RedisSettings:
    return RedisSettings(url=SecretStr(url_of(nodes[0])), cluster=True)


async def test_a_cluster_that_serves_and_keeps_what_it_acknowledges_can_be_used(nodes: list[ClusterNode]) -> None:
    facts = await check_redis(url_of(nodes[0]), cluster=True)
    await check_keeps(url_of(nodes[0]), settings_of(nodes))

    assert facts.shown_url.endswith("(a cluster of 3 masters)")
    assert facts.version >= (7, 0, 0)


async def test_a_cluster_where_none_is_expected_and_none_where_one_is_are_told_with_the_setting(
    nodes: list[ClusterNode], tmp_path: Path
) -> None:
    with pytest.raises(RedisUnavailable, match=r"is a node of a Redis Cluster; set redis.cluster = true"):
        await check_redis(url_of(nodes[0]))
    with started(redis_7_program(), tmp_path, "port 0"):
        with pytest.raises(RedisUnavailable, match=r"no node of a Redis Cluster \(it runs standalone\); take"):
            await check_redis(f"unix://{tmp_path}/redis.sock", cluster=True)


@pytest.mark.parametrize("number", range(3))
async def test_one_master_that_would_forget_is_named(nodes: list[ClusterNode], number: int) -> None:
    nodes[number].client.config_set("appendfsync", "everysec")
    try:
        with pytest.raises(RedisUnavailable, match=f"master 127.0.0.1:{nodes[number].port}, .*appendfsync everysec"):
            await check_keeps(url_of(nodes[0]), settings_of(nodes))
    finally:
        nodes[number].client.config_set("appendfsync", "always")


@pytest.mark.parametrize("number", range(3))
async def test_one_master_that_is_full_is_told(nodes: list[ClusterNode], number: int) -> None:
    nodes[number].client.config_set("maxmemory", 1)
    try:
        with pytest.raises(RedisUnavailable, match=r"is full \(.*\); raise its maxmemory"):
            await check_redis(url_of(nodes[0]), cluster=True)
    finally:
        nodes[number].client.config_set("maxmemory", 0)


async def test_a_cluster_that_lacks_a_slot_does_not_serve(nodes: list[ClusterNode]) -> None:
    nodes[0].client.execute_command("CLUSTER DELSLOTS", 7)
    try:
        with pytest.raises(RedisUnavailable, match=r"does not serve \(cluster_state fail, 16383 of 16384 slots\)"):
            await check_redis(url_of(nodes[0]), cluster=True)
    finally:
        nodes[0].client.execute_command("CLUSTER ADDSLOTS", 7)
        nodes[0].wait_served()


def test_the_doctor_looks_at_the_whole_cluster(nodes: list[ClusterNode]) -> None:
    settings = Settings(redis=settings_of(nodes))

    found, kept = doctor.redis_found(settings), doctor.kept_found(settings.redis)
    nodes[1].client.config_set("appendonly", "no")
    try:
        forgets = doctor.kept_found(settings.redis)
    finally:
        nodes[1].client.config_set("appendonly", "yes")

    assert "(a cluster of 3 masters)" in found.text
    assert (found.verdict is not doctor.Verdict.BAD, kept.verdict) == (True, doctor.Verdict.GOOD)
    assert forgets.verdict is doctor.Verdict.DOUBTFUL
    assert str(nodes[1].port) in forgets.text and "appendonly yes" in forgets.advice


def test_a_cluster_needs_the_url_of_a_node() -> None:
    with pytest.raises(ValidationError, match="needs the url of one of its nodes"):
        RedisSettings(cluster=True)
