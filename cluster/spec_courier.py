"""Carries child specs to the guardian, which knows no class of the user's: these go by name."""

from __future__ import annotations

from collections.abc import Iterator

from regrow.cluster.durable_ids import is_durable
from regrow.cluster.orders import ChildOrder, child_order, child_spec, unpack_as
from regrow.runtime import Misuse
from regrow.runtime.codec import CodecError
from regrow.runtime.errors import Bug
from regrow.runtime.packing import pack
from regrow.supervisors import AnySupervisorSpec, ChildSpec, DynamicSupervisorSpec


class SpecCourier:
    """The Courier between driver, hosts and guardian."""

    def packed(self, value: object) -> bytes:
        """See Courier. Raises CodeNotImportable, InvalidMessage for a config, and Misuse for a durable agent."""
        assert isinstance(value, ChildSpec)
        if any(is_durable(spec.behavior) for spec in _all(value)):
            # Every process knows from the app's definition whose messages have to be stored.
            raise Misuse(f"child {value.id!r}: durable agents are in the app's tree from its start; put it there")
        return pack(child_order(value))

    def opened(self, packed: bytes) -> object:
        """See Courier. Raises Misuse for what `packed` has not made."""
        try:
            return child_spec(unpack_as(ChildOrder, packed))
        except (CodecError, Bug) as error:
            raise Misuse(f"this is no child spec ({error}); use ctx.start_child(spec=child(…))") from error

    def forget(self, packed: bytes) -> None:
        """See Courier: nothing is kept."""


def _all(spec: ChildSpec) -> Iterator[ChildSpec]:
    """The spec, and those of all below it."""
    yield spec
    nested = spec.behavior
    if isinstance(nested, AnySupervisorSpec):
        for below in (nested.child,) if isinstance(nested, DynamicSupervisorSpec) else nested.children:
            yield from _all(below)
