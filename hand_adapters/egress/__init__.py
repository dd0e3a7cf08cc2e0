"""The way out of a jail: a proxy outside of it, which alone can reach anything, and only for the step that runs.

A hand that runs code names in ``[[hands.ID.egress]]`` what its jail may reach. An adapter needs two lines::

    way_out = gate(self.id, self._settings)  # None where the hand names nothing; one for each jail
    async with serving(way_out, call):       # around the time in which the program works for this call
        await self._jail.run(JailSpec(argv, gate=way_out))

A program that stays warm is started with its gate once, and ``serving`` goes around each call. Between two calls
nothing is let through, and what a call began ends with it. ``Jail`` puts the gate's environment and files in place.

Secrets, proofs of the step credential and entries of the log come by the call (``HandCall.inject``, ``prove``,
``search``, ``record``): an adapter passes the call on as it got it.
"""

from hand_adapters.egress.gate import EgressGate, gate, serving

__all__ = ["EgressGate", "gate", "serving"]
