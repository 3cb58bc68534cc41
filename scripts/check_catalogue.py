"""Tries the models and losses of a run on two cells; the workflow asks before it trains.

Reads class and arguments of each as JSON from standard input: {"models": …, "losses": …}.
"""

import json
import sys

from hce.errors import UserError
from hce.training.catalogue import try_catalogue

try:
    try_catalogue(**json.load(sys.stdin))
except UserError as error:
    sys.exit(str(error))
