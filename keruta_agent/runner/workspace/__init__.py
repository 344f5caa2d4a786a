"""The workspace of a coding run: the slot it borrows, and git in it from the branch to the push."""
