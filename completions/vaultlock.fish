complete --keep-order --exclusive --command vaultlock --arguments "(VAULTLOCK_COMPLETE=fish vaultlock -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
