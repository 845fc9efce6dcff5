"""The leaderboard: rows, ranks, intervals, tables, pictures, the HTML page.

In: reported figures and submitted results. Out: leaderboard.md and its pictures.
Imported by leaderboard.py, check_submission.py and the review desk (intervals).
"""
