"""From labelled structures to an ACE potential by pacemaker: input, run, errors."""
