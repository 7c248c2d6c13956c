"""The command line: `lens-steer demo` and `lens-steer compare`.

`options` are those that several commands share, `commands` the commands themselves; `demo_run` does
what `demo` says, and `demo_report` puts it into words. `compare` is `benchmark.run`.
"""

from lens_steer.cli.commands import app as app
from lens_steer.cli.commands import main as main
from lens_steer.cli.commands import run_command as run_command
from lens_steer.cli.demo_run import examine as examine
from lens_steer.cli.demo_run import sized_candidates as sized_candidates
from lens_steer.cli.demo_settings import DemoSettings as DemoSettings
