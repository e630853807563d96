"""The kinds of sources: one file for each.

A kind gives the rows of a source by index. ``files`` chooses among the kinds of files.
It knows neither columns, nor prompts, nor what is drawn.
"""
