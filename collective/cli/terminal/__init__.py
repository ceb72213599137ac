"""What a terminal shows and is asked: results, progress, questions, passphrases, Ctrl-C."""
