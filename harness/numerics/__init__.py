"""The criteria for right numbers: bounds with their derivations, data recipes, and claims about a tensor."""
