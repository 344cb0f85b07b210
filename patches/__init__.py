"""Changes to hosts, one module each; README.md is their ledger. Importing this changes nothing."""
