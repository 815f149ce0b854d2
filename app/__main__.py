"""`python -m app` is the `zeromill` command."""

import sys

from app.main import main

sys.exit(main())
