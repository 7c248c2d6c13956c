"""The command line: `lens-steer demo` and `lens-steer compare`."""

from lens_steer.cli.app import app as app
from lens_steer.cli.app import main as main
from lens_steer.cli.app import run_command as run_command
from lens_steer.cli.demo_run import DemoSettings as DemoSettings
from lens_steer.cli.demo_run import examine as examine
from lens_steer.cli.demo_run import sized_candidates as sized_candidates
