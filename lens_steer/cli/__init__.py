"""The command line: `lens-steer demo`, `compare`, `describe` and `fetch`.

`typed_options` reads any option by the annotation of its value and ends misuse with one line,
`options` are those that several commands share, `commands` the commands themselves; `demo_run` does
what `demo` says, as much of it as `demo_plan` finds to fit; `demo_stages` and `demo_table` are its
parts, `demo_kept` keeps what they find, and `demo_report` puts it into words. `compare` is
`benchmark.run_comparison`; `describe` and `fetch` are those of `models`.
"""

from lens_steer.cli.commands import app as app
from lens_steer.cli.commands import main as main
from lens_steer.cli.demo_run import examine as examine
from lens_steer.cli.demo_settings import DemoSettings as DemoSettings
from lens_steer.cli.options import Device as Device
from lens_steer.cli.options import Methods as Methods
from lens_steer.cli.options import Model as Model
from lens_steer.cli.options import Out as Out
from lens_steer.cli.options import Seed as Seed
from lens_steer.cli.typed_options import OnceCommand as OnceCommand
from lens_steer.cli.typed_options import check_each_pairs as check_each_pairs
from lens_steer.cli.typed_options import option as option
from lens_steer.cli.typed_options import run_command as run_command
