//! Bad weather: for each thing that can go wrong, the batches of the same files, or an error in bounded time.
