"""One suite of process, supervision and mailbox promises over four placements.

A package, so that its fixtures end with it and not with the whole run:
its Ray must be gone before other tests start theirs.
"""
