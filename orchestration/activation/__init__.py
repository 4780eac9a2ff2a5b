"""From the published audience to the destination: plan, guards, ledger, push, recovery."""
