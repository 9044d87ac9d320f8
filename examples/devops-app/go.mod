module devops-app

go 1.26
