"""Where on the scan the classifier looked. A part's ``Config.build(classifier)`` returns a saliency method."""
