"""When a number is right: bounds with their derivations, data recipes, and claims about a tensor."""
