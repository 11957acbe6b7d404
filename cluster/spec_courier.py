"""Carries child specs to the guardian, which knows no class of the user's: these go by name."""

from __future__ import annotations

from collections.abc import Iterator

from regrow.cluster.durable_ids import is_durable
from regrow.cluster.orders import ChildOrder, child_order, child_spec, unpack_as
from regrow.runtime import Misuse
from regrow.runtime.codec import CodecError
from regrow.runtime.courier import CourierHere
from regrow.runtime.errors import Bug
from regrow.runtime.packing import pack
from regrow.supervisors import AnySupervisorSpec, ChildSpec, SupervisorSpec


class SpecCourier:
    """The Courier between driver, hosts and guardian."""

    def packed(self, value: object) -> bytes:
        """See Courier. Raises CodeNotImportable, InvalidMessage for a config, and Misuse for a durable agent."""
        assert isinstance(value, ChildSpec)
        check_in_tree(value)
        return pack(child_order(value))

    def opened(self, packed: bytes) -> object:
        """See Courier. Raises Misuse for what `packed` has not made."""
        try:
            return child_spec(unpack_as(ChildOrder, packed))
        except (CodecError, Bug) as error:
            raise Misuse(f"this is no child spec ({error}); use ctx.start_child(spec=child(…))") from error

    def forget(self, packed: bytes) -> None:
        """See Courier: nothing is kept."""


class SpecsHere(CourierHere):
    """The same where all is in one process: classes go by reference, and what is refused is the same."""

    def packed(self, value: object) -> bytes:
        """See Courier. Raises Misuse for a durable agent."""
        assert isinstance(value, ChildSpec)
        check_in_tree(value)
        return super().packed(value)


def check_in_tree(spec: ChildSpec) -> None:
    """Raises Misuse for a durable agent: every process knows from the app's tree whose messages have to be stored."""
    if any(is_durable(each.behavior) for each in _all(spec)):
        raise Misuse(
            f"child {spec.id!r}: durable agents are in the app's tree from its start; put it there, as keyed(…) or as "
            "the child of a DynamicSupervisor where there are to be many"
        )


def _all(spec: ChildSpec) -> Iterator[ChildSpec]:
    """The spec, and those of all below it."""
    yield spec
    nested = spec.behavior
    if isinstance(nested, AnySupervisorSpec):
        for below in nested.children if isinstance(nested, SupervisorSpec) else (nested.child,):
            yield from _all(below)
