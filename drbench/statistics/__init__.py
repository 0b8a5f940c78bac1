"""Statistics of samples, of paired ratios and of accuracies."""
