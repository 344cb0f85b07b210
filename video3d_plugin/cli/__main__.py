"""`python -m video3d_plugin.cli`."""

from video3d_plugin.cli import main

raise SystemExit(main())
