"""Claims about a target; `pytest --pyargs moefuzz.tests.properties` finds them in an installed package."""
