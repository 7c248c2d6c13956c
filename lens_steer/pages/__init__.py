"""Results as one page that a person reads: a single HTML file, without a network.

`report` takes what a comparison, a benchmark or any other analysis found, or the folder of a
command. `sections` turns each result into a part of the page, `folders` reads what the commands
keep, and `page.html` is the template.
"""

from lens_steer.arguments import check_room as _check_room
from lens_steer.pages.folders import check_results as check_results
from lens_steer.pages.page import check_page as check_page
from lens_steer.pages.page import report as report

_check_room(globals())
