"""Multi-objective evolution: NSGA-II, its operators and Pareto fronts."""
