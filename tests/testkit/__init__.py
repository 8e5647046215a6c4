"""What the tests share: programs that they start, clients that are not ours, and what pages and files say."""
