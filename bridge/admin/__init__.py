"""How the daemon is doing, told to people and machines: status, health, metrics, and the ports where they are asked.

It only tells. It knows neither side: whoever runs gives it a function that says how things are.
"""
