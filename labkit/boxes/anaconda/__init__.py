"""An unattended installation of CentOS by anaconda in a guest of its own."""
