"""The graph: tasks, the specs they carry, the nodes that calling them builds.

Nothing here runs a task, blocks or locks; the one door to what does is `running`.
"""
