"""The main emulator, with one fault mended at its start.

The branches of a `Parallel` state share one context object there. A Task's token stands in it, so of two branches whose
Tasks are called at one moment one can send the other's token: who answers it then wakes the wrong Task, or nobody. On AWS
each branch has a context of its own. Seen with MiniStack as pinned in `python.rs`; `tests/parallel.rs` fails without it.
"""

import sys

from ministack.app import main
from ministack.services import stepfunctions

run_sub_machine = stepfunctions._run_sub_machine


def run_with_a_context_of_its_own(states, start_at, input_data, execution, ctx):
    return run_sub_machine(states, start_at, input_data, execution, {**ctx, "variables": dict(ctx.get("variables", {}))})


stepfunctions._run_sub_machine = run_with_a_context_of_its_own

if __name__ == "__main__":
    sys.exit(main())
