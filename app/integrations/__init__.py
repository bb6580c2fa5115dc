"""Everything outside: files of other programs, OpenAI, Apprise, HTTP."""
