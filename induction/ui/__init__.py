"""The page: layout and wiring only, one file a tab. Start reading at :mod:`induction.ui.page`."""
