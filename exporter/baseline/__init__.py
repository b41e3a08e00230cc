"""What pipelines are known to connect to: learnt from runs, reviewed as a file, and asked at every act."""
