"""Row curricula: how often each row of a source comes, one file each.

A new one is a class derived from ``RowCurriculum``. Its module says where the formula comes from,
what it needs, when to use it and when not.
"""
